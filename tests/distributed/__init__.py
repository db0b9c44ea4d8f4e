"""Trainings that several ranks share."""
