"""Trainings as a user would start them, and plans of many."""
