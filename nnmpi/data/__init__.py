"""Samples: read from sources, split into parts and shards, turned into features and targets, cut into batches."""
