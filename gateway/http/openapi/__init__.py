"""The description of the calls: the OpenAPI document and its page."""
