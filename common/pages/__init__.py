"""How results look as a page of HTML, whatever they are of: one file, no network.

page: the frame around the sections, tables, pictures, facts. axes, charts, distributions: drawings,
as SVG. training: curves of a run folder's log. style.css and sort.js are inlined into every page.
"""
