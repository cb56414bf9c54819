"""Promotion: is the challenger fit to be served, and better than the champion?"""
