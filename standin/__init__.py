"""A stand-in for Cloudinary: the HTTP API that its official SDK speaks, and its signed notifications."""
