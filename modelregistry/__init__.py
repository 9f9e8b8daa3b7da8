"""The model registry: bundles at the models URI; announcements, decisions and live evidence on the models topic."""
