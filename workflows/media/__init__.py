"""Pictures in buckets."""
