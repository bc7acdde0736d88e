"""Pictures and pages for people: loss curves, the inspector, and the model in a page."""
