"""What the page runs for us, in JavaScript: functions of its own objects `app` and `LiteGraph`."""

from __future__ import annotations

# After a workflow is loaded the front end looks for missing files and nodes, and draws; then it is idle.
SETTLED = "ms => new Promise(done => setTimeout(() => requestIdleCallback(done, {timeout: 10000}), ms))"
READY = """() => !!(window.app?.extensionManager && app.vueAppReady && app.isGraphReady !== false
    && LiteGraph.registered_node_types['SWDSampler'] && app.graph._nodes.length)"""
HELPERS = """() => {
    const all = graph => graph._nodes.flatMap(node => [node, ...(node.subgraph ? all(node.subgraph) : [])]);
    window.swd = {
        ended: [],
        all: () => all(app.graph),
        node: type => all(app.graph).find(node => node.type === type),
    };
    for (const kind of ['execution_success', 'execution_error', 'execution_interrupted'])
        app.api.addEventListener(kind, () => window.swd.ended.push(kind));
}"""
ADD = """([type, at]) => {
    const node = LiteGraph.createNode(type);
    node.pos = at;
    app.graph.add(node);
}"""
SET_VALUES = """([type, values]) => {
    for (const widget of swd.node(type).widgets)
        if (widget.name in values) {
            widget.value = values[widget.name];
            widget.callback?.(widget.value);
        }
}"""
VALUES = """() => Object.fromEntries(swd.all().map(node => [
    `${node.id} ${node.type}`, Object.fromEntries((node.widgets ?? []).map(widget => [widget.name, widget.value]))]))"""
TITLES = """() => {
    const shown = node => document.querySelector(`[data-node-id="${node.id}"] [data-testid="node-title"]`)?.innerText;
    const title = node => LiteGraph.vueNodesMode ? shown(node) : node.getTitle();
    return Object.fromEntries(swd.all().map(node => [node.type, title(node)]));
}"""
FAULTY = """() => swd.all()
    .filter(node => node.has_errors || !LiteGraph.registered_node_types[node.type]).map(node => node.type)"""
# Left, upper, right and lower edge on the screen of a node with its title bar.
BOX = """type => {
    const node = swd.node(type), {scale, offset} = app.canvas.ds, canvas = app.canvas.canvas.getBoundingClientRect();
    const x = canvas.x + (node.pos[0] + offset[0]) * scale, y = canvas.y + (node.pos[1] + offset[1]) * scale;
    return [x, y - LiteGraph.NODE_TITLE_HEIGHT * scale, x + node.size[0] * scale, y + node.size[1] * scale];
}"""
# Pairs that overlap, by their titles: two nodes, two groups, or a node that sticks out of a group. As drawn.
OVERLAPS = """() => {
    const {scale, offset} = app.canvas.ds, canvas = app.canvas.canvas.getBoundingClientRect();
    const title = LiteGraph.NODE_TITLE_HEIGHT, box = (x, y, w, h) => ({left: x, top: y, right: x + w, bottom: y + h});
    const drawn = node => {
        const element = LiteGraph.vueNodesMode && document.querySelector(`[data-node-id="${node.id}"]`);
        if (!element) return box(node.pos[0], node.pos[1] - title, node.size[0], node.size[1] + title);
        const at = element.getBoundingClientRect();
        return box((at.x - canvas.x) / scale - offset[0], (at.y - canvas.y) / scale - offset[1],
            at.width / scale, at.height / scale);
    };
    const overlap = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1
        && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1;
    const within = (a, b) => a.left > b.left - 1 && a.top > b.top - 1
        && a.right < b.right + 1 && a.bottom < b.bottom + 1;
    const nodes = app.graph._nodes.map(node => [node.getTitle(), drawn(node)]);
    const groups = app.graph._groups.map(group => [group.title, box(...group.pos, ...group.size)]);
    const pairs = items => items.flatMap((a, index) => items.slice(index + 1).map(b => [a, b]));
    return [
        ...[...pairs(nodes), ...pairs(groups)].filter(([a, b]) => overlap(a[1], b[1])),
        ...nodes.flatMap(a => groups.map(b => [a, b])).filter(([a, b]) => overlap(a[1], b[1]) && !within(a[1], b[1])),
    ].map(([a, b]) => `${a[0]} / ${b[0]}`);
}"""
# Every node of the pack that shows a text while it runs shows this one, as if the server had sent it.
SHOW_TEXT = """text => {
    for (const node of app.graph._nodes)
        if (/^SWD(LoraLoader|.*Schedule|Sampler|TeacherDataset|DistillLora)$/.test(node.type))
            app.api.dispatchEvent(new CustomEvent('progress_text', {detail: {nodeId: String(node.id), text}}));
}"""
# The sizes of the loaded pictures of a node: those the canvas draws, and those of the page.
PICTURES = """type => {
    const node = swd.node(type);
    const shown = [...document.querySelectorAll(`[data-node-id="${node.id}"] img`)];
    const pictures = LiteGraph.vueNodesMode ? shown : node.imgs ?? [];
    return pictures.filter(picture => picture.complete).map(picture => [picture.naturalWidth, picture.naturalHeight]);
}"""
