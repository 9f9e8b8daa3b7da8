"""What crosses a process border: clicks, recommendations, model announcements, topics, settings, errors."""
