"""HTML as a tree of nodes, for tests that ask what a page shows."""

from html.parser import HTMLParser


class Node:
    def __init__(self, tag="", attributes=(), parent=None):
        self.tag, self.attributes, self.parent = tag, dict(attributes), parent
        self.children, self.words = [], []

    @property
    def classes(self):
        return (self.attributes.get("class") or "").split()

    @property
    def text(self):
        return " ".join("".join(self.words).split())

    def all(self, tag=None, of_class=None):
        for child in self.children:
            if tag in (None, child.tag) and (of_class is None or of_class in child.classes):
                yield child
            yield from child.all(tag, of_class)


class Tree(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.root = self.here = Node()
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        node = Node(tag, attributes, self.here)
        self.here.children.append(node)
        if tag not in ("meta", "img", "br", "link", "input"):
            self.here = node

    def handle_startendtag(self, tag, attributes):
        self.here.children.append(Node(tag, attributes, self.here))

    def handle_endtag(self, tag):
        assert tag == self.here.tag, f"</{tag}> closes <{self.here.tag}>"
        self.here = self.here.parent

    def handle_data(self, data):
        node = self.here
        while node is not None:
            node.words.append(data)
            node = node.parent
