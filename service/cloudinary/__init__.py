"""Cloudinary's APIs, called through its SDK within their limits, and what their answers say."""
