"""Data that trainers read: one image mode as arrays, factors, pictures, augmentation."""
