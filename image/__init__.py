"""Program of the repository, not of the image: builds, runs and measures the image; with an engine and bases of its own
where there is no Docker and no container registry."""
