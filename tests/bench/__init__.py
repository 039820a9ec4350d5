"""Figures and ratios against peers, measured in one run. Never a pass/fail test."""
