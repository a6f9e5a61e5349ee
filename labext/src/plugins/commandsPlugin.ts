/** Adds the commands that do something with clusters, and puts them into the palette. */
import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette } from '@jupyterlab/apputils';
import { INotebookTracker } from '@jupyterlab/notebook';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';
import { addAttachCommand } from '../attachCommand';
import { CommandIds } from '../commandIds';
import { addClusterCommands } from '../clusterCommands';
import { DOMAIN, ICellspanModel } from '../tokens';

export const commandsPlugin: JupyterFrontEndPlugin<void> = {
  id: '@cellspan/labextension:commands',
  description: 'Commands to start, scale, stop and attach clusters.',
  autoStart: true,
  requires: [ICellspanModel],
  optional: [ITranslator, ICommandPalette, INotebookTracker],
  activate: (
    app: JupyterFrontEnd,
    model: ICellspanModel,
    translator: ITranslator | null,
    palette: ICommandPalette | null,
    notebooks: INotebookTracker | null
  ): void => {
    const trans = (translator ?? nullTranslator).load(DOMAIN);
    addClusterCommands(app, model, trans);
    addAttachCommand(app, model, notebooks, trans);
    // What a command says of itself, and whether it can be used, may follow the clusters.
    model.changed.connect(() => {
      app.commands.notifyCommandChanged(CommandIds.attach);
    });
    for (const command of [
      CommandIds.showPanel,
      CommandIds.newCluster,
      CommandIds.attach,
      CommandIds.scale,
      CommandIds.stop,
      CommandIds.openLogs
    ]) {
      palette?.addItem({ command, category: trans.__('Clusters') });
    }
  }
};
