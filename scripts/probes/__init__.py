"""Questions to a trained network about words: what they say alone, and what other words change.

answers          one picture, many sentences: depth and score of each
reports          what a study hands over: table, numbers, a line per answer
caption_spread   several true captions of each picture
sentence_files   files of true and false sentences
false_sentences  a false sentence beside a true paraphrase
word_changes     one word of each caption for another
one_picture      several sentences about one picture, and their strip
wording_stats    spread and moves, as numpy
sampled_scenes   scenes that a sentence alone describes
pictures         strip, rows of scenes, histogram
"""
