"""Cloudinary's APIs: what webhooks miss is found and repaired, what changes on our side is written back."""
