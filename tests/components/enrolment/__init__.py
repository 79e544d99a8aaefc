"""Tests of `components/enrolment`."""
