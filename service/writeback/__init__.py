"""What is to be done at Cloudinary: a queue, and who works it off."""
