# %% confusion marks=4 kind=right
# one bincount over pairs
def confusion(truth, prediction, num_classes):
    known = truth != 255
    t, p = truth[known].long(), prediction[known].long()
    return torch.bincount(t * num_classes + p, minlength=num_classes**2).reshape(num_classes, -1)


# %% confusion marks=4 kind=right
# a plain loop over pixels
def confusion(truth, prediction, num_classes):
    counts = torch.zeros(num_classes, num_classes, dtype=torch.long)
    for t, p in zip(truth.flatten().tolist(), prediction.flatten().tolist()):
        if t != 255:
            counts[t, p] += 1
    return counts


# %% confusion marks=4 kind=right
# a loop over pairs of classes
def confusion(truth, prediction, num_classes):
    return torch.stack(
        [
            torch.stack([((truth == t) & (prediction == p)).sum() for p in range(num_classes)])
            for t in range(num_classes)
        ]
    )


# %% confusion marks=4 kind=unusual
# numpy, and a list of lists comes back
def confusion(truth, prediction, num_classes):
    import numpy as np

    t, p = np.array(truth).ravel().astype(int), np.array(prediction).ravel().astype(int)
    counts = np.zeros((num_classes, num_classes), int)
    np.add.at(counts, (t[t < 255], p[t < 255]), 1)
    return counts.tolist()


# %% confusion marks=4 kind=unusual
# a matrix product of one-hot rows, with prints and a warning
def confusion(truth, prediction, num_classes):
    import warnings

    warnings.warn("about to count")
    known = truth.reshape(-1) != 255
    print("labelled pixels:", int(known.sum()))
    eye = torch.eye(num_classes, dtype=torch.float64)
    return eye[truth.reshape(-1)[known].long()].T @ eye[prediction.reshape(-1)[known].long()]


# %% confusion marks=4 kind=unusual
# a dictionary first, fed with strings
def confusion(truth, prediction, num_classes):
    from collections import Counter

    pairs = Counter(
        f"{t},{p}" for t, p in zip(truth.flatten().tolist(), prediction.flatten().tolist())
    )
    return [[pairs[f"{t},{p}"] for p in range(num_classes)] for t in range(num_classes)]


# %% confusion marks=3 kind=partly
# multiplies in the type of the labels: 19 * 20 does not fit into uint8
def confusion(truth, prediction, num_classes):
    known = truth != 255
    pairs = truth[known] * num_classes + prediction[known]
    return torch.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


# %% confusion marks=2 kind=partly
# no minlength: breaks when the last pair does not occur
def confusion(truth, prediction, num_classes):
    known = truth != 255
    pairs = truth[known].long() * num_classes + prediction[known].long()
    return torch.bincount(pairs).reshape(num_classes, num_classes)


# %% confusion marks=2 kind=partly
# believes that there are always three classes
def confusion(truth, prediction, num_classes):
    counts = torch.zeros(3, 3)
    for t, p in zip(truth.flatten().tolist(), prediction.flatten().tolist()):
        if t != 255:
            counts[t, p] += 1
    return counts


# %% confusion marks=0 kind=misconception
# rows are the prediction
def confusion(truth, prediction, num_classes):
    counts = torch.zeros(num_classes, num_classes)
    for t, p in zip(truth.flatten().tolist(), prediction.flatten().tolist()):
        if t != 255:
            counts[p, t] += 1
    return counts


# %% confusion marks=1 kind=misconception
# void is a class: the background, class 0
def confusion(truth, prediction, num_classes):
    counts = torch.zeros(num_classes, num_classes)
    for t, p in zip(truth.flatten().tolist(), prediction.flatten().tolist()):
        t, p = (0 if t == 255 else t), (0 if p == 255 else p)
        counts[t, p] += 1
    return counts


# %% confusion marks=1 kind=misconception
# void is where the prediction is 255, not the truth
def confusion(truth, prediction, num_classes):
    known = prediction != 255
    pairs = truth[known].long() * num_classes + prediction[known].long()
    return torch.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


# %% confusion marks=0 kind=misconception
# shares of a row instead of counts
def confusion(truth, prediction, num_classes):
    counts = torch.zeros(num_classes, num_classes)
    for t, p in zip(truth.flatten().tolist(), prediction.flatten().tolist()):
        if t != 255:
            counts[t, p] += 1
    return counts / counts.sum(1, keepdim=True).clamp(min=1) / 2


# %% confusion marks=0 kind=misconception
# counts only what is right
def confusion(truth, prediction, num_classes):
    right = truth[(truth == prediction) & (truth != 255)].long()
    return torch.diag(torch.bincount(right, minlength=num_classes))


# %% mean_iou marks=5 kind=right
# only classes with a union
def mean_iou(matrix):
    m = matrix.double()
    hits = m.diagonal()
    union = m.sum(0) + m.sum(1) - hits
    return (hits[union > 0] / union[union > 0]).mean().item()


# %% mean_iou marks=5 kind=right
# nan where the union is empty, and nanmean
def mean_iou(matrix):
    m = matrix.double()
    return float((m.diag() / (m.sum(0) + m.sum(1) - m.diag())).nanmean())


# %% mean_iou marks=5 kind=right
# a loop over classes
def mean_iou(matrix):
    m, found = matrix.tolist(), []
    for k in range(len(m)):
        union = sum(m[k]) + sum(row[k] for row in m) - m[k][k]
        if union:
            found.append(m[k][k] / union)
    return sum(found) / len(found) if found else float("nan")


# %% mean_iou marks=5 kind=unusual
# numpy with its warnings about 0 / 0, returns a numpy number
def mean_iou(matrix):
    import numpy as np

    m = np.array(matrix, float)
    print(m)
    return np.nanmean(np.diag(m) / (m.sum(0) + m.sum(1) - np.diag(m)))


# %% mean_iou marks=5 kind=unusual
# true positives, false positives and false negatives apart; a tensor comes back
def mean_iou(matrix):
    tp = matrix.diagonal().double()
    fp, fn = matrix.sum(0) - tp, matrix.sum(1) - tp
    return (tp / (tp + fp + fn)).nanmean()


# %% mean_iou marks=4 kind=partly
# right, but 0 for a matrix without pixels
def mean_iou(matrix):
    m = matrix.double()
    union = m.sum(0) + m.sum(1) - m.diag()
    seen = union > 0
    return float((m.diag()[seen] / union[seen]).sum() / max(int(seen.sum()), 1))


# %% mean_iou marks=2 kind=misconception
# divides by all classes, also by those that do not occur
def mean_iou(matrix):
    m = matrix.double()
    union = m.sum(0) + m.sum(1) - m.diag()
    return float((m.diag() / union.clamp(min=1)).mean())


# %% mean_iou marks=4 kind=misconception
# leaves out classes that are not in the truth
def mean_iou(matrix):
    m = matrix.double()
    union = m.sum(0) + m.sum(1) - m.diag()
    seen = m.sum(1) > 0
    return float((m.diag()[seen] / union[seen]).mean())


# %% mean_iou marks=4 kind=misconception
# leaves out classes that are never predicted
def mean_iou(matrix):
    m = matrix.double()
    union = m.sum(0) + m.sum(1) - m.diag()
    seen = m.sum(0) > 0
    return float((m.diag()[seen] / union[seen]).mean())


# %% mean_iou marks=1 kind=misconception
# class accuracy: the union is what is true
def mean_iou(matrix):
    m = matrix.double()
    return float((m.diag() / m.sum(1)).nanmean())


# %% mean_iou marks=0 kind=misconception
# counts the shared pixels twice in the union
def mean_iou(matrix):
    m = matrix.double()
    return float((m.diag() / (m.sum(0) + m.sum(1))).nanmean())


# %% mean_iou marks=1 kind=misconception
# the Dice score
def mean_iou(matrix):
    m = matrix.double()
    return float((2 * m.diag() / (m.sum(0) + m.sum(1))).nanmean())


# %% mean_iou marks=1 kind=misconception
# pixel accuracy
def mean_iou(matrix):
    m = matrix.double()
    return float(m.diag().sum() / m.sum())


# %% mean_iou marks=0 kind=misconception
# all intersections over all unions
def mean_iou(matrix):
    m = matrix.double()
    return float(m.diag().sum() / (m.sum(0) + m.sum(1) - m.diag()).sum()) if m.sum() else 0.0
