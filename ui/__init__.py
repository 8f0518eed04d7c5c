"""The tabs of the app. app.py puts them together; nothing in advdm knows of them."""
