"""Maths without parameters, one family a file; the readable `*_reference` stands beside the fast form.

attend            softmax attention: dense, cross, biased, masked, causal
biased_attention  with a learned bias, in training without keeping scores
csr               sums and means over the edges of a sparse relation, without a copy for every edge
csr_attend        softmax over the edges of a row, and graph attention on it
csr_max           the largest over the edges of a row
decay             linear attention whose memory decays, in chunks
depthwise         depthwise convolution of tokens
dropout           from 16 random bits, half the time of torch's on a CPU
dynamic_filter    depthwise filters that differ from place to place
edge_conv         the largest of what a point's edges say
gelu_linear       a linear layer of a GELU, which is computed again instead of kept
groups            softmax attention inside the groups of a partition, ragged segments among them
joint_attention   local squared-ReLU attention and global linear attention together
legendre          the memory of a signal as Legendre coefficients
linear            linear attention: whole, causal in chunks, from a state
manhattan         attention that decays with the Manhattan distance, full or along rows and columns
merge             one softmax over several key sets; merging partial results
neighbourhood     attention to the nearest tokens of a grid, dilated or not, in tiles
neighbours        the nearest points of each point
normalise         norms that keep one tensor for the backward pass, over time without padding
point_pairs       pairs of points as rotations leave them, attention with embeddings of pairs
recomputed        a linear layer of something cheap, which is computed again instead of kept
reorder           rows in another order
routed            attention of regions to the regions that suit them best
segments          sums over rows that carry the same number
selective_scan    a recurrence whose decay depends on the token (Mamba)
single_head       attention of one head whose values are wider than its keys
sparse_conv       convolution and pooling over pairs of rows
table_attention   softmax attention with tables of relative positions for queries, keys and values
topk              several softmaxes over the largest scores of a row
"""
