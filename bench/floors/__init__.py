"""What the gateway is compared with: the least that any gateway must do."""
