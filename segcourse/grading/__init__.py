"""Exercises handed out, collected and marked (exercises/README.md).

The student's code runs in a worker inside bubblewrap; the tests run here, outside, and only plain
values and tensors cross. nbgrader keeps the gradebook.
"""
