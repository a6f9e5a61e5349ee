/** The command that puts `%cluster attach NAME` into the active notebook. It runs nothing: the user does. */
import type { JupyterFrontEnd } from '@jupyterlab/application';
import { type INotebookTracker, NotebookActions, type NotebookPanel } from '@jupyterlab/notebook';
import type { ReadonlyPartialJSONObject } from '@lumino/coreutils';
import { attachAt, loadsMagics } from './attach';
import { CommandIds } from './commandIds';
import { describeArgs } from './describeArgs';
import { attachIcon } from './icons';
import { clusterArgs, namedCluster, pickCluster } from './pickCluster';
import type { ICellspanModel, Translations } from './tokens';

export function addAttachCommand(
  app: JupyterFrontEnd,
  model: ICellspanModel,
  notebooks: INotebookTracker | null,
  trans: Translations
): void {
  const obstacle = (args: ReadonlyPartialJSONObject): string | null => {
    if (!notebooks?.currentWidget) {
      return trans.__('Open a notebook to attach a cluster to it');
    }
    const name = namedCluster(app, args);
    const candidates = name === undefined ? model.clusters : [model.find(name)];
    return candidates.some(cluster => cluster?.state === 'running')
      ? null
      : trans.__('Only a running cluster can be attached');
  };
  app.commands.addCommand(CommandIds.attach, {
    label: trans.__('Attach Notebook to Cluster'),
    caption: args =>
      obstacle(args) ??
      trans.__(
        'Insert “%cluster attach” at the cursor of %1',
        notebooks?.currentWidget?.title.label ?? ''
      ),
    icon: attachIcon,
    describedBy: describeArgs(clusterArgs(trans)),
    isEnabled: args => obstacle(args) === null,
    execute: async args => {
      const title = trans.__('Attach to which cluster?');
      const cluster = await pickCluster(app, model, args, ['running'], title);
      const panel = notebooks?.currentWidget;
      if (cluster && panel) {
        app.shell.activateById(panel.id);
        await insertAttach(panel, cluster.name);
      }
    }
  });
  notebooks?.currentChanged.connect(() => {
    app.commands.notifyCommandChanged(CommandIds.attach);
  });
}

/** Insert the magic at the cursor of the active cell, or into a new one if that holds no code. */
async function insertAttach(panel: NotebookPanel, cluster: string): Promise<void> {
  const notebook = panel.content;
  if (notebook.activeCell?.model.type !== 'code') {
    NotebookActions.insertBelow(notebook);
  }
  const cell = notebook.activeCell;
  if (!cell) {
    return;
  }
  await cell.ready;
  // Cells further down will not have run by then.
  const sources = notebook.widgets
    .slice(0, notebook.activeCellIndex + 1)
    .filter(other => other.model.type === 'code')
    .map(other => other.model.sharedModel.getSource());
  const shared = cell.model.sharedModel;
  const editor = cell.editor;
  const source = shared.getSource();
  const cursor = editor ? editor.getOffsetAt(editor.getCursorPosition()) : source.length;
  const { offset, text } = attachAt(source, cursor, cluster, loadsMagics(sources));
  shared.updateSource(offset, offset, text);
  notebook.mode = 'edit';
  const end = editor?.getPositionAt(offset + text.trimEnd().length);
  if (editor && end) {
    editor.setCursorPosition(end);
    editor.focus();
  }
}
