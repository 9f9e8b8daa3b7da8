"""The next model from the newest clicks: warm start, and judgement against what serves."""
