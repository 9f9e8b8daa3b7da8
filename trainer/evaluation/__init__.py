"""Full-ranking evaluation: where the next item ranks among all items."""
