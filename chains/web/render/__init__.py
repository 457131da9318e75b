"""From typed data to HTML: templates, how hostile text is shown, links, drawings.

Every template escapes everything. What comes from runs, stores and configurations is hostile text.
"""
