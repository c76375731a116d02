"""Demo rooms of a home: each function furnishes a layout and paints its room."""

from __future__ import annotations

from math import pi

from scripts.demo_renderer import fixtures, furniture
from scripts.demo_renderer.finishes import (
    Finish,
    draw_sides,
    home_finish,
    paint,
    put_chairs_around,
    tiles,
    white_ceiling,
)
from scripts.demo_renderer.piece_layout import PieceLayout
from scripts.demo_renderer.pieces import WHITE, WOODS, pick, scaled, stack, textured, wood
from scripts.demo_renderer.renderer import Material, Vector


def furnish_bedroom(layout: PieceLayout) -> Finish:
    rng, (near, other) = layout.rng, draw_sides(layout.rng)
    bed = furniture.bed(rng)
    place = layout.against(bed, "back", span=(0.3, 0.7)) or layout.width / 2
    for side in (-1, 1):
        x = place + side * (bed.size[0] / 2 + 0.27)
        stand = furniture.nightstand(rng)
        if layout.against(stand, "back", at=x) and rng.random() < 0.75:
            lamp = stack(stand, furniture.table_lamp(rng), 0, 0.05)
            layout.put(lamp, x, layout.length, pi, check=False)
    if rng.random() < 0.5:
        layout.against(fixtures.picture(rng), "back", y=1.45, at=place)
    layout.against(furniture.wardrobe(rng), near, span=(0.5, 1.0))
    layout.against(fixtures.window(rng, 1.2, 1.2), other, y=0.95, span=(0.5, 1.0))
    layout.against(fixtures.window(rng, 1.0, 1.1), "back", y=1.0)
    layout.against(furniture.dresser(rng), other, span=(0.45, 1.0))
    if rng.random() < 0.6:
        layout.put_middle(
            furniture.rug(rng, 2.4, 1.6), place, layout.length - bed.size[2], check=False
        )
    return home_finish(rng)


def furnish_bathroom(layout: PieceLayout) -> Finish:
    rng, (near, other) = layout.rng, draw_sides(layout.rng)
    if rng.random() < 0.5:
        tub = fixtures.bathtub(rng)
        layout.against(
            tub, "back", at=tub.size[0] / 2 if near == "left" else layout.width - tub.size[0] / 2
        )
        if rng.random() < 0.7:
            width = rng.uniform(0.4, 0.8)
            x = width / 2 if near == "right" else layout.width - width / 2
            layout.put(
                fixtures.shower_curtain(rng, width), x, layout.length - 0.72, pi, 0.55, check=False
            )
        basin_wall, toilet_wall = near, other
    else:
        layout.against(fixtures.bathtub(rng), near, at=layout.length - 0.85)
        basin_wall, toilet_wall = "back", other
        layout.against(fixtures.toilet(rng), "back", span=(0.2, 0.8))
    span = (0.2, 0.8) if basin_wall == "back" else (0.35, 0.7)
    place = layout.against(fixtures.washbasin(rng), basin_wall, span=span)
    if place is not None:
        layout.against(fixtures.mirror(rng), basin_wall, y=1.25, at=place)
    if "toilet" not in layout.names:
        layout.against(fixtures.toilet(rng), toilet_wall, span=(0.3, 0.75))
    layout.against(fixtures.window(rng, 0.6, 0.6), "back", y=1.5)
    layout.against(fixtures.towel(rng), other, y=0.9, span=(0.5, 1.0))
    if rng.random() < 0.5:
        layout.put_middle(furniture.rug(rng, 0.9, 0.6), layout.width / 2, 0.9, check=False)
    return Finish(
        tiles(rng, rng.uniform(0.15, 0.25)), tiles(rng, rng.uniform(0.2, 0.3)), white_ceiling(rng)
    )


def _kitchen_row(layout: PieceLayout, color: Vector, top: Material) -> None:
    """Fill the back wall with fridge, counters, sink and stove, and cupboards above."""
    rng = layout.rng
    free = layout.width - 0.66 - 0.6
    share = rng.uniform(0.35, 0.65)
    row = ["counter", "stove", "sink"] if rng.random() < 0.5 else ["sink", "stove", "counter"]
    row.insert(0 if rng.random() < 0.5 else 3, "fridge")
    widths = {"fridge": 0.66, "stove": 0.6, "counter": free * share, "sink": free * (1 - share)}
    x = 0.0
    machines = {"fridge": fixtures.fridge, "stove": fixtures.stove}
    for item in row:
        middle = x + widths[item] / 2
        x += widths[item]
        if item in machines:
            layout.against(machines[item](rng), "back", at=middle)
            continue
        base = fixtures.counter(rng, widths[item], color, top)
        layout.against(base, "back", at=middle)
        if item == "sink":
            sink = stack(base, fixtures.kitchen_sink(rng), 0, 0)
            layout.put(sink, middle, layout.length, pi, check=False)
            layout.against(
                fixtures.window(rng, min(0.9, widths[item] - 0.1), 0.9), "back", 1.15, middle
            )
        else:
            layout.against(fixtures.wall_cabinet(rng, widths[item], color), "back", 1.45, middle)


def furnish_kitchen(layout: PieceLayout) -> Finish:
    rng, (near, other) = layout.rng, draw_sides(layout.rng)
    color = pick(rng, (WHITE, *WOODS, (0.45, 0.55, 0.60), (0.55, 0.62, 0.50)))
    stone = pick(rng, ((0.30, 0.30, 0.32), (0.75, 0.73, 0.70), WOODS[2]))
    top = textured(rng, "carpet", stone, scaled(stone, 0.8), 0.01)
    _kitchen_row(layout, color, top)
    if rng.random() < 0.5:
        width = rng.uniform(0.9, 1.3)
        at = layout.length - 0.68 - width / 2
        layout.against(fixtures.counter(rng, width, color, top), near, at=at)
        layout.against(fixtures.wall_cabinet(rng, width, color), near, y=1.45, at=at)
    if rng.random() < 0.6:
        x, z = layout.width * (0.72 if other == "right" else 0.28), layout.length * 0.45
        table = furniture.round_table(rng, "table", rng.uniform(0.38, 0.45), 0.75)
        if layout.put_middle(table, x, z):
            frame = wood(rng)
            for yaw, dx, dz in ((0.2, -0.1, -0.75), (pi - 0.2, 0.1, 0.75)):
                layout.put(furniture.chair(rng, frame), x + dx, z + dz, yaw, check=False)
    layout.against(fixtures.clock(rng), near, y=1.7, span=(0.5, 1.0))
    layout.against(fixtures.window(rng, 1.0, 1.0), other, y=1.05, span=(0.5, 1.0))
    wall = paint(rng, 0.1) if rng.random() < 0.6 else tiles(rng, 0.15)
    return Finish(wall, tiles(rng, rng.uniform(0.3, 0.4)), white_ceiling(rng))


def furnish_living_room(layout: PieceLayout) -> Finish:
    rng, (near, other) = layout.rng, draw_sides(layout.rng)
    middle = layout.width * rng.uniform(0.42, 0.58)
    rug = furniture.rug(rng, rng.uniform(2.2, 2.8), rng.uniform(1.6, 2.1))
    layout.put_middle(rug, middle, layout.length - 1.9, check=False)
    if rng.random() < 0.55:
        layout.against(furniture.sofa(rng), "back", at=middle)
        layout.against(fixtures.picture(rng), "back", y=1.35, at=middle)
        layout.against(furniture.tv_stand(rng), near, span=(0.45, 0.7))
    else:
        layout.against(furniture.tv_stand(rng), "back", at=middle)
        layout.against(furniture.sofa(rng), near, span=(0.5, 0.7))
    coffee = furniture.table(rng, "coffee table", rng.uniform(0.9, 1.2), 0.6, 0.42)
    layout.put_middle(coffee, middle, layout.length - 1.9)
    layout.against(furniture.sofa(rng, seats=1), other, span=(0.45, 0.75))
    layout.against(furniture.floor_lamp(rng), "back")
    layout.against(furniture.bookshelf(rng), other if rng.random() < 0.5 else "back")
    layout.against(furniture.plant(rng), "back")
    layout.against(fixtures.window(rng, rng.uniform(1.2, 1.8), 1.3), "back", y=0.95)
    layout.against(fixtures.window(rng, 1.5, 1.3), other, y=0.95, span=(0.5, 1.0))
    layout.against(fixtures.picture(rng), near, y=1.4, span=(0.6, 1.0))
    return home_finish(rng)


def furnish_dining_room(layout: PieceLayout) -> Finish:
    rng, (near, other) = layout.rng, draw_sides(layout.rng)
    width, depth = rng.uniform(0.9, 1.05), rng.uniform(1.4, 1.9)
    x, z = layout.width * rng.uniform(0.45, 0.55), layout.length * 0.55
    layout.put_middle(furniture.rug(rng, width + 1.2, depth + 1.0), x, z, check=False)
    layout.put_middle(furniture.table(rng, "dining table", width, depth, 0.75), x, z)
    put_chairs_around(layout, x, z, width, depth, 2 if depth < 1.6 else 3)
    lamp = furniture.pendant_lamp(rng)
    layout.put_middle(lamp, x, z, y=layout.height - lamp.size[1], check=False)
    layout.against(furniture.dresser(rng), "back")
    layout.against(furniture.plant(rng), "back")
    layout.against(fixtures.window(rng, rng.uniform(1.2, 1.6), 1.3), "back", y=0.95)
    layout.against(fixtures.picture(rng), "back", y=1.45)
    layout.against(fixtures.window(rng, 1.3, 1.3), other, y=0.95, span=(0.5, 1.0))
    layout.against(fixtures.door(rng), near, span=(0.6, 1.0))
    return home_finish(rng)
