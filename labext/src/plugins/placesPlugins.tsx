/** Where clusters are met outside their panel: status bar, running sessions, launcher. Each place is optional. */
import type { JSX } from 'react';
import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ILauncher } from '@jupyterlab/launcher';
import { IRunningSessionManagers } from '@jupyterlab/running';
import { IStatusBar } from '@jupyterlab/statusbar';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';
import { ReactWidget, UseSignal } from '@jupyterlab/ui-components';
import { CommandIds } from '../commandIds';
import { cellspanIcon } from '../icons';
import { DOMAIN, ICellspanModel, ICellspanPanel, type Translations } from '../tokens';
import { lifetimeText, runningText, stateText } from '../words';

export const statusPlugin: JupyterFrontEndPlugin<void> = {
  id: '@cellspan/labextension:status',
  description: 'How many clusters and tasks run, in the status bar.',
  autoStart: true,
  requires: [ICellspanModel],
  optional: [IStatusBar, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    model: ICellspanModel,
    statusBar: IStatusBar | null,
    translator: ITranslator | null
  ): void => {
    const trans = (translator ?? nullTranslator).load(DOMAIN);
    const item = ReactWidget.create(
      <UseSignal signal={model.changed}>
        {() => <StatusItem app={app} model={model} trans={trans} />}
      </UseSignal>
    );
    item.addClass('cellspan-StatusItem');
    statusBar?.registerStatusItem('@cellspan/labextension:status', {
      item,
      align: 'left',
      rank: 20,
      isActive: () => model.clusters.length > 0,
      activeStateChanged: model.changed
    });
  }
};

function StatusItem(props: {
  app: JupyterFrontEnd;
  model: ICellspanModel;
  trans: Translations;
}): JSX.Element {
  const { app, model, trans } = props;
  const running = model.clusters.reduce((sum, cluster) => sum + cluster.tasks.running, 0);
  const failed = model.clusters.filter(cluster => cluster.state === 'failed').length;
  const count = trans._n('%1 cluster', '%1 clusters', model.clusters.length);
  const bad = failed > 0 ? ` · ${trans.__('%1 failed', failed)}` : '';
  const tasks = running > 0 ? ` · ${runningText(running, trans)}` : '';
  return (
    <button
      type="button"
      className="cellspan-Status"
      title={trans.__('Show the panel with all clusters')}
      onClick={() => {
        void app.commands.execute(CommandIds.showPanel);
      }}
    >
      <cellspanIcon.react tag="span" className="cellspan-Status-icon" />
      {count}
      {tasks}
      {bad && <span className="cellspan-Status-failed">{bad}</span>}
    </button>
  );
}

export const runningPlugin: JupyterFrontEndPlugin<void> = {
  id: '@cellspan/labextension:running',
  description: 'Clusters among the running terminals and kernels.',
  autoStart: true,
  requires: [ICellspanModel],
  optional: [IRunningSessionManagers, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    model: ICellspanModel,
    managers: IRunningSessionManagers | null,
    translator: ITranslator | null
  ): void => {
    const trans = (translator ?? nullTranslator).load(DOMAIN);
    managers?.add({
      name: trans.__('Clusters'),
      running: () =>
        model.clusters
          .filter(cluster => cluster.state !== 'failed')
          .map(cluster => ({
            label: () => cluster.name,
            detail: () => stateText(cluster, trans),
            labelTitle: () => `${cluster.name}: ${lifetimeText(cluster, trans)}`,
            icon: () => cellspanIcon,
            open: () => {
              void app.commands.execute(CommandIds.showPanel);
            },
            shutdown: () => {
              void app.commands.execute(CommandIds.stop, { cluster: cluster.name });
            }
          })),
      // Lab has asked whether to, by then.
      shutdownAll: () => {
        for (const { name: cluster, state } of model.clusters) {
          if (state !== 'failed') {
            void app.commands.execute(CommandIds.stop, { cluster, isConfirmed: true });
          }
        }
      },
      refreshRunning: () => {
        model.refresh().catch((reason: unknown) => {
          console.warn('cellspan: the clusters could not be listed.', reason);
        });
      },
      runningChanged: model.changed,
      shutdownLabel: trans.__('Stop Cluster'),
      shutdownAllLabel: trans.__('Stop All'),
      shutdownAllConfirmationText: () =>
        trans.__('Stop all clusters? All results and unfinished tasks on them are lost.')
    });
  }
};

export const launcherPlugin: JupyterFrontEndPlugin<void> = {
  id: '@cellspan/labextension:launcher',
  description: 'A launcher card that starts a cluster.',
  autoStart: true,
  requires: [ICellspanPanel],
  optional: [ILauncher, ITranslator],
  activate: (
    _app: JupyterFrontEnd,
    _panel: ICellspanPanel,
    launcher: ILauncher | null,
    translator: ITranslator | null
  ): void => {
    const trans = (translator ?? nullTranslator).load(DOMAIN);
    launcher?.add({
      command: CommandIds.newCluster,
      args: { isLauncher: true },
      category: trans.__('Other'),
      rank: 5
    });
  }
};
