/** Provides the model. */
import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ClusterApi } from '../clusterApi';
import { CellspanModel } from '../model';
import { ICellspanModel } from '../tokens';

export const modelPlugin: JupyterFrontEndPlugin<ICellspanModel> = {
  id: '@cellspan/labextension:model',
  description: 'Knows all cellspan clusters of this user.',
  autoStart: true,
  provides: ICellspanModel,
  activate: (app: JupyterFrontEnd) =>
    new CellspanModel(new ClusterApi(app.serviceManager.serverSettings))
};
