/**
 * The core of BokehJS, and nothing else of it: no widgets, tables, WebGL or MathJax. Imported only
 * dynamically, so that it is a chunk of its own that is loaded with the first view.
 */
export { embed } from '@bokeh/bokehjs/build/js/lib/main';
