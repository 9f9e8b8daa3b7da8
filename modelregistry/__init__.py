"""What models there are: bundles at the models URI, announcements, decisions and evidence on the models topic."""
