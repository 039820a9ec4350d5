"""The page: what a browser shows at the address of the server. See docs/page.md.

Importing this package costs nothing; what it is made with (NiceGUI) is imported when a page is opened.
"""
