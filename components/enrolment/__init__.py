"""Enrolment: give each device its own identity, write the bundle that it starts with, and revoke the identity."""
