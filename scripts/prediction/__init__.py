"""Depth for pictures without ground truth: a trained network, opened and asked.

trained   a checkpoint of any stage, opened; sentences as its network reads them
model     DepthModel: predict, save_pretrained, from_pretrained
load      a model from a run, a checkpoint, a saved folder or the hub, in one line
result    what a prediction is
pictures  files, arrays, tensors as RGB pixels
frames    what the network reads of a picture, and depth back to the picture's size
words     captions given, made or left out, and their features
cameras   focal length given, from EXIF or of the training camera, and what it does to depth
known     depth made metric by known distances
cards     the model card of a saved model
inputs    files, folders, globs, videos, webcams; captions of many pictures
focals    focal lengths of many pictures, from lists
names     under which names files are written, and what is never written over
outputs   what is written for a picture
clouds    depth as points
video     a video beside its depth
"""
