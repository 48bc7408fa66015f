# SPDX-License-Identifier: GPL-2.0-only
"""What a person sees of an error: one sentence, with a path and a remedy, never a traceback."""

import contextlib
import errno
import io
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from tools import cache, console, paths


class MainTest(unittest.TestCase):
    """console.main around the body of a command."""

    def ended(self, body):
        """The status of a command with this body, and what it said of its end."""
        said = io.StringIO()
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            with self.assertRaises(SystemExit) as caught:
                console.main(body)
        return caught.exception.code, said.getvalue().strip()

    def assert_sentence(self, body, *told):
        status, said = self.ended(body)
        self.assertEqual(status, 1)
        self.assertEqual(len(said.splitlines()), 1, said)
        for words in told:
            self.assertIn(words, said)

    def test_success(self):
        self.assertEqual(self.ended(lambda: 0), (0, ""))

    def test_full_disk(self):
        def body():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/somewhere/big")

        self.assert_sentence(
            body,
            "error: /somewhere/big: No space left on device.",
            "Make room there, or set MSITRAP_CACHE",
        )

    def test_full_disk_without_a_path(self):
        def body():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        self.assert_sentence(body, str(paths.CACHE), "Make room")

    def test_a_file_in_place_of_the_cache(self):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "cache")
            file.touch()
            for place in (file, file / "below"):
                with mock.patch.object(paths, "CACHE", place):
                    self.assert_sentence(
                        lambda: cache.build("x", [], lambda into: None), str(file), "move it away"
                    )

    def test_no_permission(self):
        def body():
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/srv/mine")

        self.assert_sentence(body, "/srv/mine: Permission denied.", "owner")

    def test_a_missing_program(self):
        self.assert_sentence(
            lambda: subprocess.run(["no-such-program"], check=True),
            "the program no-such-program is missing",
            "scripts/setup",
        )

    def test_a_program_that_fails(self):
        words = [
            sys.executable,
            "-c",
            "import sys; print('one', file=sys.stderr); sys.exit('the reason')",
        ]
        self.assert_sentence(
            lambda: subprocess.run(words, check=True, capture_output=True),
            "failed with status 1",
            "the reason",
        )

    def test_a_failure_names_its_log(self):
        def body():
            raise console.Failure("it broke", "Mend it.", "/nowhere/x.log")

        status, said = self.ended(body)
        self.assertEqual(status, 1)
        self.assertIn("error: it broke. Mend it.\n--- the end of /nowhere/x.log", said)

    def test_stopped(self):
        def body():
            raise KeyboardInterrupt

        self.assertEqual(self.ended(body), (130, "stopped."))

    def test_other_errors_are_not_hidden(self):
        with self.assertRaises(ZeroDivisionError):
            console.main(lambda: 1 // 0)


if __name__ == "__main__":
    unittest.main()
