"""The Starlette program: pages, the JSON API, the WebSocket, and the login for both of nginx's ports."""
