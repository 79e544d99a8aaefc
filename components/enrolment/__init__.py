"""Enrolment: an identity of its own for each device, the bundle that it starts with, and its end."""
