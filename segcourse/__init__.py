"""Semantic segmentation from the sliding window to the CRF: the code behind the course.

Each chapter of the book has a module of the same name; README.md lists them, one line a file.
"""

__version__ = "0.1.0"
