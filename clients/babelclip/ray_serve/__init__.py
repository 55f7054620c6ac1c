"""The towers of a model store on Ray Serve: `python -m babelclip.ray_serve --store model_store`.

Needs Ray with its extra `serve`, and what the archives' handlers need (`babelclip[inprocess]`). What is
deployed here, `babelclip.transports.ray` calls.
"""
