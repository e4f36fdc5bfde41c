#!/usr/bin/python3
"""The batch API of Git LFS, as a CGI script: it sends git-lfs to files of this folder, which Apache takes and gives by itself."""
import json
import os
import sys

asked = json.load(sys.stdin)
scheme = os.environ.get("HTTP_X_FORWARDED_PROTO", os.environ["REQUEST_SCHEME"])
folder = "%s://%s/files/" % (scheme, os.environ["HTTP_HOST"])
for thing in asked["objects"]:
    thing["actions"] = {asked["operation"]: {"href": folder + thing["oid"]}}
print("Content-Type: application/vnd.git-lfs+json\n")
print(json.dumps({"transfer": "basic", "objects": asked["objects"]}))
