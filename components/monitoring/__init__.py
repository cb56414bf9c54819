"""Monitoring: is the footage that comes in still like the footage that the champion learned from?"""
