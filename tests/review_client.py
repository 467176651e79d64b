"""A plain client of a review server."""

import http.client
import json


class Client:
    """A plain client of a review server, with the token of its page."""

    def __init__(self, port):
        self.port = port
        self.token = self.ask("GET", "/")[1].partition(b'name="review-token" content="')[2].partition(b'"')[0].decode()

    def ask(self, method, path, body=None, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, body, {name.replace("_", "-"): text for name, text in headers.items()})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def get(self, path):
        status, body = self.ask("GET", path)
        assert status == 200, body
        return json.loads(body)

    def save(self, body, **headers):
        text = body if isinstance(body, (bytes, str)) else json.dumps(body)
        given = {"Content_Type": "application/json", "X_Review_Token": self.token, **headers}
        status, answer = self.ask("POST", "/review", text, **{k: v for k, v in given.items() if v is not None})
        return status, json.loads(answer) if status == 200 else answer.decode().strip()
