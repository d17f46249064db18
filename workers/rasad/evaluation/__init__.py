"""Measuring bundles on labelled corpora: readers, scores and reports."""
