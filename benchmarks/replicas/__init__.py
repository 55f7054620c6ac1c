"""Several replicas of two versions behind a proxy, under load, while they change and fail."""
