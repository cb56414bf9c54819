"""Generated still pictures: those of edge cameras, with EXIF, and those of digits. Seed in, the same bytes out."""
