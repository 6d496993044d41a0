"""What each column of the released tables means."""

MEANINGS = {
    "step_id": "Identity of this module call: equal inputs give equal ids in every build.",
    "execution_id": "The run of one program with one student set; its steps share this id.",
    "index": "Place of the step in its execution, from 0.",
    "parents": "Indices of the earlier steps that this step's region came from.",
    "module": "The visual sub-module called: locate, vqa, match, depth or knowledge.",
    "arguments": "JSON object: the arguments as the program gave them.",
    "text": "What was asked: a question, an object's name, or options joined by ' | '.",
    "image_id": "The image, as in images.parquet.",
    "region": "Part of the image the module saw: x0, y0, x1, y1 in pixels of the original image, "
    "origin top-left.",
    "output": "JSON: the student's answer (vqa), boxes (locate) or one score an option (match); "
    "null where it gave none.",
    "confidence": "The student's probability or best score for its output.",
    "question_id": "The question the program was written for, as in the source dataset.",
    "program_id": "The program.",
    "task": "The task, that is the source dataset, of the question.",
    "dialect": "The program's language: visprog or viper.",
    "group_id": "Image or record: rows of one group never stand in two splits; resample by it.",
    "adapter": "How the step was put to the teacher: none, name, lineage or box.",
    "pointer": "The words that tell the teacher which thing is meant, or null.",
    "teacher_text": "What the teacher was asked.",
    "teacher_region": "What the teacher saw, in the coordinates of `region`: where a search for "
    "`pointer` had found nothing, what the teacher itself found by that name.",
    "target_answer": "The teacher's answer: the hard label.",
    "target_topk": "The teacher's likeliest answers with their probabilities: the soft label.",
    "target_boxes": "The teacher's boxes, in the coordinates of `region`, with their scores.",
    "target_confidence": "The teacher's probability or best score for its target.",
    "agree": "Whether the student's output equals the teacher's target.",
    "kept": "Whether the step was trained on.",
    "drop_reason": "Why it was not, or null.",
    "oracle_answer": "JSON in the form of `output`: the answer by the source's annotations, or "
    "null where they say nothing. It is about the step as the module got it, without `pointer`: a "
    "target about the thing named there can rightly differ.",
    "module_revision": "Content hash of the student set that gave `output`.",
    "teacher_revision": "Content hash of the teacher.",
}
IMAGE_MEANINGS = {
    "task": "As in the steps; with `image_id` the key of an image.",
    "image_id": "As in the steps.",
    "width": "Width in pixels of the original image: regions and boxes refer to it.",
    "height": "Height in pixels.",
    "sha256": "SHA-256 of the original file's bytes: verify your own copy with it.",
    "bytes": "The encoded image file, or null where its source does not let it be passed on.",
}
