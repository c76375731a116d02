"""The page to play with: what `scripts/app.py` shows in a browser.

state      what the page knows of one visitor: picture, depth, scenes, points, calibration
uploads    what visitors hand in: a picture, a depth map; limits, and one line for a bad one
desk       what the page can do with them, each a function from state to state; no Gradio in it
lengths    known depths and known lengths between points
drawings   states as pictures
texts      states as words
viewer     points in the browser
examples   rooms of the demo to begin with
attempts   a mistake or an error becomes a line, and the page goes on
answers    what the page shows after an event
components what it is made of, by Gradio
events     which of the desk's functions they call
layout     the page of a model
serving    a server that is local, private and sends nothing home
"""
