"""The stand-in verifier's eye, and what a stand-in asks Label Studio for."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from demo.people import Verifier, complaint_about
from inspection.geometry import Box, LabelledBox

A = LabelledBox("scratch", Box(10, 10, 20, 20))
B = LabelledBox("scratch", Box(100, 10, 20, 20))


def test_the_true_boxes_are_fine_in_any_order():
    """The true boxes in another order are accepted, and so is a good part without a box."""
    assert complaint_about([B, A], [A, B]) is None
    assert complaint_about([], []) is None


def test_a_missing_a_surplus_and_a_misnamed_box_are_complained_about():
    """Missing, surplus and misnamed boxes are described in words that the labeler can use."""
    assert complaint_about([A], [A, B]) == "1 of 2 marks have no box"
    assert complaint_about([A, B], [A]) == "1 boxes too many or misplaced"
    assert (
        complaint_about([LabelledBox("dent", A.box)], [A]) == "1 of 1 marks have no box; 1 boxes too many or misplaced"
    )


def test_a_stand_in_asks_for_its_projects_until_there_are_some_and_then_for_their_tasks():
    """It looks for projects on each try until it has found its own. Then it does not list them on each try."""
    titles, asked = ["other: labeling"], []

    class LabelStudio(BaseHTTPRequestHandler):
        def do_GET(self):
            path = self.path.split("?")[0]
            asked.append(path)
            projects = {"results": [{"id": number, "title": title} for number, title in enumerate(titles)]}
            body = json.dumps(projects if path == "/api/projects/" else {"tasks": [], "total": 0}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), LabelStudio) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        person = Verifier(f"http://127.0.0.1:{server.server_port}", "token", {})
        for _ in range(2):
            assert person.work_once() == 0
        titles.append("metal-tag: verification")
        for _ in range(3):
            assert person.work_once() == 0
        person.stop()
        server.shutdown()
    assert asked == ["/api/projects/"] * 3 + ["/api/tasks/"] * 3
